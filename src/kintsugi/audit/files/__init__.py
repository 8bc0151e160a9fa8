<<<<<<< HEAD
"""Files that cannot be read or show too little."""
=======
"""Files that are broken or unlike the others."""
>>>>>>> rooms
