"""Memory that is recalled by nearness: keys, values and authors, and retrieval that bears liars.

Remembered numbers: ``index`` finds near keys, ``memory`` says what is remembered under them and by
whom, ``retrieval`` turns neighbours of several authors into one estimate, ``trust`` scores the
authors. Remembered labels: ``vectors`` holds them by author, in a ``vector_index`` or as
``coded_vectors``; ``vote`` turns neighbours into class scores, ``label_trust`` scores the authors.
``sharding`` says who keeps which part of a memory that no node holds whole, and joins the answers
of several.
"""
