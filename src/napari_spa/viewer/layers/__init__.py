"""The napari layers that belong to the plugin, and the arrays behind them."""
