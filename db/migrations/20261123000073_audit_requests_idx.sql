-- migrate:up transaction:false
-- What one request did is found at once.
create index concurrently if not exists audit_logs_request_idx on public.audit_logs (company_id, request_id);
-- migrate:down
