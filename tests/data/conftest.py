"""Makes ``data_pictures`` importable from the tests of this room."""
