"""Files for other run times (ONNX, OpenVINO, torch.export), deleted if they do not agree with PyTorch."""
