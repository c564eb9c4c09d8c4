"""Score a network as the papers do: python evaluate.py checkpoint=RUN_OR_FILE data=benchmark."""

from srlab.app.application import evaluate as main

if __name__ == "__main__":
    main()
