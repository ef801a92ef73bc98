"""What a run showed: collected, written, drawn."""
