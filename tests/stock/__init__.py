"""Acceptance tests: the router between unmodified Jumpstarter clients and exporters."""
