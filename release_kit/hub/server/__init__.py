"""The local Hub: an HTTP server that speaks the Hugging Face Hub's API to unmodified clients.

``LocalHub`` runs it in this process; ``release-kit hub serve`` runs it as a program.
"""

from release_kit.hub.server.auth import Access, User
from release_kit.hub.server.context import HubSettings
from release_kit.hub.server.faults import Fault, FaultPlan
from release_kit.hub.server.fsck import FsckReport, check_folder
from release_kit.hub.server.limits import RateLimits
from release_kit.hub.server.records import RequestLog, RequestRecord
from release_kit.hub.server.serve import HubServer, LocalHub

__all__ = [
    "Access",
    "Fault",
    "FaultPlan",
    "FsckReport",
    "HubServer",
    "HubSettings",
    "LocalHub",
    "RateLimits",
    "RequestLog",
    "RequestRecord",
    "User",
    "check_folder",
]
