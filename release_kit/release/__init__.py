"""From a study on disk to a release that others can check: build, check, cards, publish, download, verify, audit."""
