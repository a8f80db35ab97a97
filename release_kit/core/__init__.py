"""Records, canonical bytes, hashing and the grid: what every other room stands on, importing none of them."""
