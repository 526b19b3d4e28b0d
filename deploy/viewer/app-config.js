// OHIF's configuration behind the gateway: one data source, at the same address.
window.config = {
  routerBasename: null,
  extensions: [],
  modes: [],
  customizationService: [
    { 'ohif.tours': { $set: [] } }, // no tour over the image at the first visit
    { autoCineModalities: { $set: [] } }, // no cine controls over the text of an overlay (OT)
  ],
  showStudyList: true,
  maxNumberOfWebWorkers: 2,
  showLoadingIndicator: true,
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: false,
  strictZSpacingForVolumeViewport: true,
  // every object made by Lobar states that it is for research only
  investigationalUseDialog: { option: 'never' },
  defaultDataSourceName: 'orthanc',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'orthanc',
      configuration: {
        friendlyName: 'Orthanc',
        name: 'orthanc',
        qidoRoot: '/dicom-web',
        wadoRoot: '/dicom-web',
        wadoUriRoot: '/dicom-web',
        qidoSupportsIncludeField: false,
        imageRendering: 'wadors',
        thumbnailRendering: 'wadors',
        enableStudyLazyLoad: true,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        supportsStow: false,
        dicomUploadEnabled: false,
        singlepart: 'bulkdata,video', // not pdf: Orthanc renders none
        bulkDataURI: { enabled: true },
        omitQuotationForMultipartRequest: true,
      },
    },
  ],
};
