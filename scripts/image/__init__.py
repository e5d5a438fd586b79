"""Builds images, outside of the toolkit: it runs before there is one."""
