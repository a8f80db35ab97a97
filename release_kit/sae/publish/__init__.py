"""From a finished study of autoencoders to the study that release-kit builds, checks and publishes."""
