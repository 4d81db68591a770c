"""Blind-spot denoisers: each pixel is estimated from its neighbours in space and time, never from itself."""
