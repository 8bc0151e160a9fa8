"""The diffusion core: networks, preconditioning, samplers with a guidance hook, and the generators built on them."""
