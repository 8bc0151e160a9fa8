"""Files that cannot be read or show too little."""
