"""What spectra say about the specimen: composition and thickness from X-rays."""
