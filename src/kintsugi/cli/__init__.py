"""The command line: one file a verb, over `kintsugi.api`."""
