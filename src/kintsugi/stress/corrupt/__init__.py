"""What cameras, codecs and the weather do to images."""
