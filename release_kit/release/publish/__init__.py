"""Publishing a built release: plan, survey of what the Hub has, upload, comparison, tags, index last."""
