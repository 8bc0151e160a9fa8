"""Files that are broken or unlike the others."""
