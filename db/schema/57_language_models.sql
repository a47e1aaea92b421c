-- Language models: the endpoint that writes a company's answers, and what it has used.

create table public.language_models (
  company_id uuid primary key references public.companies (id),
  base_url varchar(500) check (base_url ~ '^https?://[^[:space:]/?#@]+(/[^[:space:]?#]*)?$'),
  model varchar(100) check (model ~ '^[!-~]+$'),
  api_key_encrypted bytea,
  has_api_key boolean not null generated always as (api_key_encrypted is not null) stored,
  timeout_seconds smallint not null default 10 check (timeout_seconds between 1 and 15),
  max_tokens integer not null default 500 check (max_tokens between 50 and 4000),
  monthly_tokens bigint check (monthly_tokens >= 0),
  monthly_cost numeric(12, 2) check (monthly_cost >= 0),
  input_price numeric(12, 4) not null default 0 check (input_price >= 0),
  output_price numeric(12, 4) not null default 0 check (output_price >= 0),
  currency varchar(3) not null default 'USD' check (currency ~ '^[A-Z]{3}$'),
  is_active boolean not null default false,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint language_models_active_check
    check (not is_active or base_url is not null and model is not null)
);
comment on table public.language_models is
  'The OpenAI-compatible endpoint that writes a company''s answers. Without a row the company uses the platform''s model, if the host has set one; a row that is not active turns language models off.';
comment on column public.language_models.api_key_encrypted is
  'Sealed under the company''s key. Null: the endpoint needs no key. No role that serves people reads it.';
comment on column public.language_models.timeout_seconds is
  'The longest time for one answer with all retries. It is shorter than the lease of a reply (20 seconds), so that a reply whose model is slow is still written.';
comment on column public.language_models.max_tokens is
  'The maximum length of one answer.';
comment on column public.language_models.monthly_tokens is
  'The budget of a calendar month in tokens, input and output together. Null: no limit. A call that began before the budget was used up ends.';
comment on column public.language_models.monthly_cost is
  'The budget of a calendar month in money, in the currency of the prices. Null: no limit.';
comment on column public.language_models.input_price is
  'The price of a million input tokens.';
comment on column public.language_models.output_price is
  'The price of a million output tokens.';

alter table public.language_models enable row level security, force row level security;
create policy staff_select on public.language_models for select to authenticated
  using (company_id = (select private.company_id('language_models.read')));
create policy staff_insert on public.language_models for insert to authenticated
  with check (company_id = (select private.company_id('language_models.manage')));
create policy staff_update on public.language_models for update to authenticated
  using (company_id = (select private.company_id('language_models.manage')))
  with check (company_id = (select private.company_id('language_models.manage')));
create policy staff_delete on public.language_models for delete to authenticated
  using (company_id = (select private.company_id('language_models.manage')));
create policy router_select on public.language_models for select to neurant_router using (true);
grant delete on public.language_models to authenticated;
grant select (company_id, base_url, model, has_api_key, timeout_seconds, max_tokens,
  monthly_tokens, monthly_cost, input_price, output_price, currency, is_active, created_at,
  updated_at) on public.language_models to authenticated;
grant insert (company_id, base_url, model, api_key_encrypted, timeout_seconds, max_tokens,
  monthly_tokens, monthly_cost, input_price, output_price, currency, is_active) on
  public.language_models to authenticated;
grant update (base_url, model, api_key_encrypted, timeout_seconds, max_tokens, monthly_tokens,
  monthly_cost, input_price, output_price, currency, is_active) on public.language_models to
  authenticated;
grant select on public.language_models to neurant_router;

select private.audit_table('public.language_models', 'company_id',
  '{timeout_seconds,monthly_cost,input_price,output_price,is_active}',
  '{base_url,model,currency}',
  '{api_key_encrypted,max_tokens,monthly_tokens}',
  '{has_api_key,created_at,updated_at}');

create trigger set_updated_at before update on public.language_models
  for each row execute function private.update_updated_at_column();

create function private.drop_moved_key() returns trigger
language plpgsql set search_path = '' as $$
begin
  new.api_key_encrypted := null;
  return new;
end $$;
comment on function private.drop_moved_key() is
  'Deletes the key of an endpoint whose address changes without a new key: otherwise a person who may not read the key could have it sent to a server of their own.';

create trigger drop_moved_key before update of base_url on public.language_models
  for each row when (new.base_url is distinct from old.base_url
    and new.api_key_encrypted is not distinct from old.api_key_encrypted)
  execute function private.drop_moved_key();

create table public.language_model_usage (
  company_id uuid not null references public.companies (id),
  month date not null check (extract(day from month) = 1),
  is_platform boolean not null,
  model varchar(100) not null,
  currency varchar(3) not null check (currency ~ '^[A-Z]{3}$'),
  calls integer not null check (calls >= 0),
  fallbacks integer not null check (fallbacks >= 0),
  input_tokens bigint not null check (input_tokens >= 0),
  output_tokens bigint not null check (output_tokens >= 0),
  cost numeric(18, 6) not null check (cost >= 0),
  primary key (company_id, month, is_platform, model, currency)
);
comment on table public.language_model_usage is
  'What a company''s answers have used of language models, by calendar month (in the company''s time zone), model and currency. A reply is counted in the transaction that settles it, so it is counted once.';
comment on column public.language_model_usage.is_platform is
  'Whether the model was the platform''s: the host''s budget counts only these rows.';
comment on column public.language_model_usage.fallbacks is
  'Replies for which the quote of a document stood in, because the model failed, its answer had no support, or the budget was used up.';

alter table public.language_model_usage enable row level security, force row level security;
create policy staff_select on public.language_model_usage for select to authenticated
  using (company_id = (select private.company_id('language_models.read')));
create policy router_select on public.language_model_usage for select to neurant_router
  using (true);
create policy router_insert on public.language_model_usage for insert to neurant_router
  with check (true);
create policy router_update on public.language_model_usage for update to neurant_router
  using (true) with check (true);
grant select on public.language_model_usage to authenticated, neurant_router;
grant insert on public.language_model_usage to neurant_router;
grant update (calls, fallbacks, input_tokens, output_tokens, cost) on
  public.language_model_usage to neurant_router;

create function private.language_model(p_platform_currency text)
returns table (
  company_id uuid, is_configured boolean, is_active boolean, base_url text, model text,
  api_key_encrypted bytea, wrapped_key bytea, timeout_seconds integer, max_tokens integer,
  monthly_tokens bigint, monthly_cost numeric, input_price numeric, output_price numeric,
  currency text, used_tokens bigint, used_cost numeric)
language sql stable security definer set search_path = '' as $$
  select c.id, m.company_id is not null, coalesce(m.is_active, false), m.base_url, m.model,
    m.api_key_encrypted, k.wrapped_key, m.timeout_seconds, m.max_tokens, m.monthly_tokens,
    m.monthly_cost, m.input_price, m.output_price, m.currency, used.tokens, used.cost
  from public.companies c
  left join public.language_models m on m.company_id = c.id
  left join public.company_keys k on k.company_id = c.id and m.api_key_encrypted is not null
  cross join lateral (
    select coalesce(sum(u.input_tokens + u.output_tokens), 0)::bigint as tokens,
      coalesce(sum(u.cost) filter (where u.currency = coalesce(m.currency, p_platform_currency)), 0)
        as cost
    from public.language_model_usage u
    where u.company_id = c.id and u.month = date_trunc('month', now() at time zone c.timezone)::date
      and u.is_platform = (m.company_id is null)) used
  where c.id = (select private.company_id('chatbots.read'))
$$;
comment on function private.language_model(text) is
  'Returns the company''s model with its sealed key, and what the month has used of its budget (of the platform''s model, if the company has set none). The key can only be opened with the master key, which is not in the database. Security definer, called by the worker for one company and by staff and API keys, because a person who tries a bot may read neither keys nor use.';
grant execute on function private.language_model(text) to authenticated, neurant_worker;

create function private.count_language_model(
  p_is_platform boolean, p_model text, p_currency text, p_calls integer, p_input_tokens integer,
  p_output_tokens integer, p_cost numeric, p_fallbacks integer)
returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('chatbots.read');
begin
  if v_company is null or least(p_calls, p_input_tokens, p_output_tokens, p_cost, p_fallbacks) < 0
  then
    return;
  end if;
  insert into public.language_model_usage as u (company_id, month, is_platform, model, currency,
    calls, fallbacks, input_tokens, output_tokens, cost)
  select c.id, date_trunc('month', now() at time zone c.timezone)::date, p_is_platform, p_model,
    p_currency, p_calls, p_fallbacks, p_input_tokens, p_output_tokens, p_cost
  from public.companies c where c.id = v_company
  on conflict (company_id, month, is_platform, model, currency) do update
  set calls = u.calls + excluded.calls, fallbacks = u.fallbacks + excluded.fallbacks,
    input_tokens = u.input_tokens + excluded.input_tokens,
    output_tokens = u.output_tokens + excluded.output_tokens, cost = u.cost + excluded.cost;
end $$;
comment on function private.count_language_model(boolean, text, text, integer, integer, integer, numeric, integer) is
  'Adds the calls of a reply, a trial or a test to the month''s use; amounts are never negative. Call it last in a transaction, because it locks the month''s row. Security definer, called by the worker for one company and by staff and API keys, because no role may write figures of use directly.';
grant execute on function private.count_language_model(boolean, text, text, integer, integer,
  integer, numeric, integer) to authenticated, neurant_worker;
