-- migrate:up
-- Integrations and webhook endpoints can be removed, and a webhook's secret be made anew.
set local role neurant_owner;

create policy staff_delete on public.integrations for delete to authenticated
  using (company_id = (select private.company_id('integrations.manage')));
create policy staff_delete on public.webhook_endpoints for delete to authenticated
  using (company_id = (select private.company_id('webhooks.manage')));
grant delete on public.integrations, public.webhook_endpoints to authenticated;
grant update (secret_encrypted) on public.webhook_endpoints to authenticated;

-- What an integration did goes with it; that it was there, audit keeps.
alter table public.integration_logs
  drop constraint integration_logs_company_id_integration_id_fkey,
  add constraint integration_logs_company_id_integration_id_fkey
    foreign key (company_id, integration_id) references public.integrations (company_id, id)
    on delete cascade not valid;
alter table public.webhook_deliveries
  drop constraint webhook_deliveries_company_id_endpoint_id_fkey,
  add constraint webhook_deliveries_company_id_endpoint_id_fkey
    foreign key (company_id, endpoint_id) references public.webhook_endpoints (company_id, id)
    on delete cascade not valid;

reset role;
-- migrate:down
