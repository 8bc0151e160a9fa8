"""What training minimises: objectives every room needs."""
