"""lm-eval tasks on the pinned assets, and the items behind them."""
