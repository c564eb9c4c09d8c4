"""The run folder: the contract between the core, which writes it, and the extensions, which read it."""
