"""Values as lines of text and as JSON documents. Knows terminals; changes nothing."""
