"""The routes, one module a subject; each declares the scope that it needs."""
