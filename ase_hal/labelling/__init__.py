"""Labels from reference calculations: what is checked about them, and how they are asked for."""
