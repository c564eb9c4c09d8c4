"""Where configuration becomes objects: the only place, beside ``presets``, that knows Hydra."""
