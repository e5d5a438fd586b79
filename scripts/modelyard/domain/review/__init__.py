"""What was reviewed before it reached the main branch: releases, and changes of the rules."""
