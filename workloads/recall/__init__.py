"""Memory that is recalled by nearness: keys, values and authors, and retrieval that bears liars.

Remembered numbers: ``index`` finds near keys, ``memory`` says what is remembered under them and by
whom, ``retrieval`` turns neighbours of several authors into one estimate, ``trust`` scores the
authors. Remembered labels: ``vectors`` holds them by author, on a ``vector_index`` each; ``vote``
turns neighbours into class scores, ``label_trust`` scores the authors.
"""
