"""``python -m kintsugi``."""

from kintsugi.cli.main import main

raise SystemExit(main())
