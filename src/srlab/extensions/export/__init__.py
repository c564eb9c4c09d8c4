"""Files for other run times (ONNX, OpenVINO, torch.export), each checked against PyTorch before it is left."""
