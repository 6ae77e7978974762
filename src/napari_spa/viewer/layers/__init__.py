"""The napari layers that belong to the plugin, and the arrays behind them.

Front: `mask`, `candidates`, `prompts` (one for each kind of layer), `planes` (which plane is on
show), `label_storage` (labels of any size).
"""
