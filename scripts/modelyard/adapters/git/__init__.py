"""Git as a process: objects, refs, trees and pushes."""
