"""What a study reads: assets pinned by hash, texts, calibration blocks, published figures."""
