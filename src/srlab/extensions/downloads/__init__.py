"""Downloads of released weights and data sets by name, checked and unpacked."""
