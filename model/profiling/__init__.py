"""What a detector costs, stage by stage."""
