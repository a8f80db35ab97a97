"""The report of a study of autoencoders: claims, pictures, one page, and the browser beside it."""
