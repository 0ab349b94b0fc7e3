"""Record and file formats of docs/domain/record-formats.md: bytes and NumPy columns, no input or output."""
