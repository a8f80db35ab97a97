"""Recordings and annotations of a dataset as samples: runs, masks, cleaning, published layouts, partial download."""
