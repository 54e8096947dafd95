import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { createRoot } from "react-dom/client";
import { App } from "./App";
import { ApiError } from "./api/client";
import "./styles.css";

const client = new QueryClient({
  defaultOptions: {
    queries: {
      networkMode: "always", // "offline" by the browser's word says little of the clinic's own network
      // Events say what changed; this is for the age, and for events that no longer come.
      refetchInterval: 20_000,
      retry: (count, error) => count < 2 && error instanceof ApiError && error.isTransient,
    },
  },
});

const root = document.getElementById("root");
if (root)
  createRoot(root).render(
    <QueryClientProvider client={client}>
      <App />
    </QueryClientProvider>,
  );
