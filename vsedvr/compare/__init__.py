"""Compares versions of a clip: side by side on a page, by PSNR and SSIM, and as labelled pictures."""
