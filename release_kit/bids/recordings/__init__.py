"""Images: headers, volumes one at a time, DICOM and MATLAB sources, compressed output with equal bytes."""
