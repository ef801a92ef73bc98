"""Memory that is recalled by nearness: keys, values and authors, and retrieval that bears liars.

``index`` finds near keys, ``memory`` says what is remembered under them and by whom,
``retrieval`` turns neighbours of several authors into one estimate, ``trust`` scores the authors.
"""
