"""Files for other run times (ONNX, OpenVINO, torch.export), left only if they agree with PyTorch."""
