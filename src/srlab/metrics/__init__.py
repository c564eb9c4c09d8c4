"""PSNR and SSIM under named protocols."""
