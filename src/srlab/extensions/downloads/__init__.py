"""Files by name: released weights and data sets, downloaded when asked, checked, and unpacked."""
