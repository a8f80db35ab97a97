"""What goes wrong in a study of sparse autoencoders: the model, step, layer and seed are named."""

from release_kit.core.errors import ReleaseKitError


class SaeError(ReleaseKitError):
    """An autoencoder, its study or its inputs cannot be used as they are."""


class ActivationError(SaeError):
    """Activations cannot be taken: an unknown layer, values that are no numbers, a cache of something else."""


class NoRoomError(ActivationError):
    """Activations do not fit on the disk as it is now."""

    transient = True


class FormatError(SaeError):
    """A file is no autoencoder of any layout that is known, or is one with parts missing."""
