"""`--engine spark`: a cluster cleans the log, learns ALS, makes users' lists and embeds audio"""
