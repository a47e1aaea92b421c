-- migrate:up
-- What the file before added, held for the rows that were there.
alter table public.integration_logs
  validate constraint integration_logs_company_id_integration_id_fkey;
alter table public.webhook_deliveries
  validate constraint webhook_deliveries_company_id_endpoint_id_fkey;
-- migrate:down
