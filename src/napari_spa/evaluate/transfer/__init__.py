"""What profiles learnt on some images give on others: the study, its files and report."""
