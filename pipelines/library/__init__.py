"""The library folder: its database, the scan of music folders, artist credits, import and export."""
